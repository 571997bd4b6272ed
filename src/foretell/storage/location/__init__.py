"""Where the files of a run are: in a folder, or at the URL of another file system."""
