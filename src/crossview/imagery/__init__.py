"""Reference imagery of any kind as sheets of pixels, and windows of ground metres cut from them."""
