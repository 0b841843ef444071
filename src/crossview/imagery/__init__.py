"""Reference imagery: from files of any kind to windows of ground metres, and one overview."""
