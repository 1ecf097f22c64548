"""What outlives a call: its record and its journal."""
