"""What a steering vector does, as numbers: dose and response, and the file they are in."""
