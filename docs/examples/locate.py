"""Where was this photo taken? Ten lines.

python docs/examples/locate.py city.tif photo.jpg
"""

import sys

import crossview

imagery, photo = sys.argv[1:]
index = crossview.build_index(imagery, "region.cvx")  # goes on, or is opened, where it is there
answer = crossview.locate(index, photo)
for place in answer.places:
    print(place)
print(*answer.assumptions, *answer.warnings, sep="\n")
