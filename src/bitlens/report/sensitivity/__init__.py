"""What a sensitivity run shows, in a terminal and on its page."""
