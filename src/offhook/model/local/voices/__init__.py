"""Speech that is made on this machine, from the voice inside an installed package."""
