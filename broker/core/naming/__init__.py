"""Messages by their ids and positions: kept out, found, shown, taken out."""
