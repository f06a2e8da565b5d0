"""The parts of ``coherence``, in the order in which clips pass them.

``views`` looks at one clip, ``sketch`` holds a bounded sample of a set. Patterns that move are
sought by ``groups``, still ones by ``stamps`` in what ``stills`` makes of mean pictures; ``search``
asks both. ``kinds`` says what a pattern is, and ``findings`` scores all clips by it.
"""
