"""The parts of ``coherence``, in the order in which clips pass them.

``views`` looks at one clip, ``sketch`` holds a bounded sample of a set, ``seen`` is what the
searches see of it. Patterns that move are sought by ``groups``; still ones by ``stamps`` in what
``stills`` makes of mean pictures, and ``standing`` tells them from scenes by ``scenes``; ``search``
asks both for ``leads``. ``kinds`` says what a pattern is, and ``findings`` scores all clips by it.
``order`` and ``products`` are what several of them compute.
"""
