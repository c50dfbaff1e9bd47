"""The programs of two arms, as a competent user of each framework would write them."""
