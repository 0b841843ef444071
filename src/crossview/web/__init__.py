"""What browsers get: the map page's scripts and styles, and the library of others that it uses.

``page`` holds one page with two sources of answers: ``embedded.js`` where all of it is one file,
``service.js`` where a server answers. ``vendor`` holds unchanged files of others. There is no
Python here.
"""
