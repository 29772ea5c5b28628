// Surfaces as report/viewer.py packs them, for every 3-D view: geometry, colours of distances, glass, lights, keys.
"use strict";
const Surface = {
  bytes(text) {
    const raw = atob(text);
    const array = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) array[i] = raw.charCodeAt(i);
    return array.buffer;
  },

  geometry(part) {
    const stored = new Uint16Array(Surface.bytes(part.positions));
    const positions = new Float32Array(stored.length);
    for (let i = 0; i < stored.length; i++) positions[i] = part.low[i % 3] + (part.span[i % 3] * stored[i]) / 65535;
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(positions, 3));
    const indices = Surface.bytes(part.indices);
    geometry.setIndex(new THREE.BufferAttribute(part.wide ? new Uint32Array(indices) : new Uint16Array(indices), 1));
    if (part.normals) {
      const normals = new Int8Array(Surface.bytes(part.normals));
      geometry.setAttribute("normal", new THREE.BufferAttribute(normals, 3, true));
    } else geometry.computeVertexNormals();
    return geometry;
  },

  between(stops, share) {
    let right = stops.findIndex(([place]) => place >= share);
    if (right < 0) return stops[stops.length - 1][1];
    if (right === 0) return stops[0][1];
    const [[low, a], [high, b]] = [stops[right - 1], stops[right]];
    const t = (share - low) / (high - low);
    return a.map((value, i) => value + t * (b[i] - value));
  },

  linear(colour) {
    const made = new THREE.Color().setRGB(...colour, "srgb");
    return [made.r, made.g, made.b];
  },

  // Hundredths of a millimetre to colours. data: stops, limit (mm), unknown, unknownDistance.
  errorColours(distances, data) {
    const table = Array.from({ length: 257 }, (_, i) => Surface.linear(Surface.between(data.stops, i / 256)));
    const unknown = Surface.linear(data.unknown);
    const colours = new Float32Array(3 * distances.length);
    distances.forEach((d, i) => {
      const share = Math.min(d / 100 / data.limit, 1);
      colours.set(d === data.unknownDistance ? unknown : table[Math.round(256 * share)], 3 * i);
    });
    return colours;
  },

  glass(colour) {
    const material = new THREE.MeshStandardMaterial({
      roughness: 0.72, metalness: 0, color: colour, transparent: true, depthWrite: false,
    });
    material.onBeforeCompile = (shader) => {
      // Clear where one looks straight through the surface, opaque along its outline.
      shader.fragmentShader = shader.fragmentShader.replace(
        "#include <opaque_fragment>",
        `float grazing = 1.0 - abs(dot(normalize(normal), normalize(vViewPosition)));
        diffuseColor.a = mix(0.06, 1.0, pow(grazing, 2.2));
        #include <opaque_fragment>`,
      );
    };
    return material;
  },

  light(scene, camera) {
    scene.add(camera, new THREE.HemisphereLight(0xffffff, 0x9a8f86, 1.5));
    for (const [x, y, z, strength] of [[-0.5, 0.7, 0.9, 1.9], [0.9, 0.1, 0.4, 0.55]]) {
      const light = new THREE.DirectionalLight(0xffffff, strength);
      light.position.set(x, y, z);
      camera.add(light); // the lights move with the viewer: every side can be read
    }
  },

  // Nothing where the browser has no WebGL; the box then shows its fallback.
  renderer(canvas, box) {
    try {
      const renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true, powerPreference: "low-power" });
      renderer.setClearAlpha(0);
      return renderer;
    } catch (error) {
      box.classList.add("without-webgl");
      document.documentElement.dataset.viewer = "unavailable";
      return null;
    }
  },

  // Arrows turn the camera about what it looks at, + and - bring it nearer and further. moved: called afterwards.
  turnWithKeys(canvas, camera, controls, moved) {
    canvas.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      const offset = camera.position.clone().sub(controls.target);
      if (steps[event.key]) {
        const [across, up] = steps[event.key];
        const right = new THREE.Vector3().crossVectors(camera.up, offset).normalize();
        offset.applyAxisAngle(camera.up, across * 0.12);
        const tilted = offset.clone().applyAxisAngle(right, up * 0.12);
        if (Math.abs(tilted.y) < 0.98 * tilted.length()) offset.copy(tilted);
      } else if (event.key === "+" || event.key === "=") offset.multiplyScalar(0.9);
      else if (event.key === "-") offset.multiplyScalar(1.1);
      else return;
      event.preventDefault();
      camera.position.copy(controls.target).add(offset);
      moved();
    });
  },
};
