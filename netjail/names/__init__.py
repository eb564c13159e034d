"""
Host names: what the jail asks for, and which addresses they truly have.

``truth`` keeps what the supervisor's own look-ups (``lookups``) gave. ``stub`` is the
name server that the jail's questions are led to; ``questions`` reads and answers them.
"""
