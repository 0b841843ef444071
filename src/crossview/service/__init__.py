"""An index behind HTTP: the API, the live map page, and a small client."""
