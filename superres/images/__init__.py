"""Files to arrays and back; resizing and drawing."""
