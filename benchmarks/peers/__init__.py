"""Networks of other libraries, written as their users would write them."""
