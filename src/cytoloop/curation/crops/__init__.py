"""Crops: images cut into pictures with a known number of objects, and put together again."""
