// Positions of the vertices of skinned meshes at some times, as three's loader and mixer have them, as JSON.
// node three_reader.mjs FOLDER_OF_NODE_MODULES FILE TIME ...
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder, file, ...times] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(`${folder}/node_modules/three/${path}`).href);
globalThis.self = globalThis;
const THREE = await load("build/three.module.js");
const { GLTFLoader } = await load("examples/jsm/loaders/GLTFLoader.js");
const raw = readFileSync(file);
const bytes = raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength);
new GLTFLoader().parse(bytes, "", (film) => {
  const mixer = new THREE.AnimationMixer(film.scene);
  mixer.clipAction(film.animations[0]).play();
  const found = times.map((time) => {
    mixer.setTime(Number(time));
    film.scene.updateMatrixWorld(true);
    const meshes = {};
    film.scene.traverse((node) => {
      if (!node.isSkinnedMesh) return;
      node.skeleton.update();
      const places = node.geometry.attributes.position;
      meshes[node.name] = Array.from({ length: places.count }, (_, i) => {
        const place = node.applyBoneTransform(i, new THREE.Vector3().fromBufferAttribute(places, i));
        return place.applyMatrix4(node.matrixWorld).toArray();
      });
    });
    return meshes;
  });
  console.log(JSON.stringify({ animations: film.animations.length, found }));
});
