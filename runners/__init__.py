"""The composition root: environments, agents and objectives meet here. Importing it loads none of them."""
