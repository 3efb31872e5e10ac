"""Scoring of one image: its objects, or its classes."""
