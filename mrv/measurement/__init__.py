"""From register integers to corrected activity with its uncertainty."""
