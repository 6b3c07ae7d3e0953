"""The pictures of a report: from what runs recorded, or what their weights say, to charts."""
