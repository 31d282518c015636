"""What the questions share; see ``bench``."""
