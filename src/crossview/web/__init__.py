"""What browsers get: the pages' scripts and styles, and the libraries of others that they use.

``answers`` is the map page that is one file, ``region`` the page of a server, ``shared`` is used by
both, and ``vendor`` holds unchanged files of others. There is no Python here.
"""
