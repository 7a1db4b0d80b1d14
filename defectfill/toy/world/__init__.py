"""A world of random materials: pictures of nothing in particular, that hold what photographs of parts are made of.

`draw_scene` makes a picture: materials (`draw_material`) of random textures (`TEXTURES`), shapes (`SHAPES`) of others
on top, light and a camera. `draw_mark` puts a line, a spot or a patch of another material on any picture. A base
that learns from these learns edges, grain, relief and repetition at any scale rather than four kinds of part.

Lengths here are pixels. Everything random descends from the generator that is passed in.
"""

from defectfill.toy.world.marks import MARKS, Mark, draw_mark
from defectfill.toy.world.materials import Surface, draw_material
from defectfill.toy.world.scene import draw_scene
from defectfill.toy.world.shapes import SHAPES
from defectfill.toy.world.textures import TEXTURES

__all__ = ["MARKS", "SHAPES", "TEXTURES", "Mark", "Surface", "draw_mark", "draw_material", "draw_scene"]
