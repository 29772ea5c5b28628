"""Run by a Python that has Blender's module bpy: keys and vertices of an animated GLB that is imported as our words say.

python blender_reader.py FILE RATE BASE_BEFORE BASE_AFTER OUTPUT FRAME ...
"""

import json
import sys

import bpy

file, rate, before, after, output, *frames = sys.argv[1:]
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps, scene.render.fps_base = int(rate), float(before)
bpy.ops.import_scene.gltf(filepath=file)
scene.render.fps_base = float(after)
(action,) = bpy.data.actions
curve = action.layers[0].strips[0].channelbags[0].fcurves[0]
vertices = {}
for frame in frames:
    scene.frame_set(int(frame))
    graph = bpy.context.evaluated_depsgraph_get()
    for name in ("Left_mesh", "Right_mesh"):
        shown = scene.objects[name].evaluated_get(graph)
        places = [list(shown.matrix_world @ vertex.co) for vertex in shown.to_mesh().vertices]
        vertices.setdefault(name, []).append(places)
with open(output, "w") as target:
    json.dump({"keys": [point.co[0] for point in curve.keyframe_points], "vertices": vertices}, target)
