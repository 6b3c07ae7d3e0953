"""Pictures as values (`chart`), drawn as SVG that follows the theme of the page (`svg`) or as PNG by matplotlib (`png`)."""
