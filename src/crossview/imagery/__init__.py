"""Reference imagery: from files of any kind to sheets of pixels, and windows of ground metres cut from them."""
