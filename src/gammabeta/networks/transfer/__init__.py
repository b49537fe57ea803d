"""What networks have learned, from one framework's layers to another's: snapshot, match, load."""
