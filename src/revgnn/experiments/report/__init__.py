"""Tables as plain values for JSON (`records`), as a page of Markdown (`markdown`), and in sentences (`summary`)."""
