"""The peers: their networks, written as their users would write them."""
