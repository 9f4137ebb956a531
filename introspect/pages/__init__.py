"""One module per family of pages: sources and arguments become a Page."""
