"""Annotation formats: pictures with numbered objects, from and to annotation tools."""
