"""The speed of samenet, measured against what a user would write; none of it is a test."""
