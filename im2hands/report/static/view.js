// The page of `im2hands view`. Reads the JSON that report/view_page.py writes; one camera serves all panels.
"use strict";
(() => {
  const root = document.documentElement;
  const box = document.querySelector("#view");
  const data = JSON.parse(document.querySelector("#view-data").textContent);
  const board = box.querySelector(".board");
  const canvas = board.querySelector("canvas");
  const cells = [...board.querySelectorAll(".cell")];
  const slider = box.querySelector("input[name=frame]");
  const truthBox = box.querySelector("input[name=truth]");

  const renderer = Surface.renderer(canvas, box);
  if (!renderer) return;
  const FIELD_OF_VIEW = 24; // degrees
  const FILLED = 0.82; // part of a panel that the meshes fill at first
  const FRAMES_PER_SECOND = 6;
  const scene = new THREE.Scene();
  const camera = new THREE.PerspectiveCamera(FIELD_OF_VIEW, 1, 1, 100000);
  const controls = new THREE.OrbitControls(camera, canvas);
  controls.enableDamping = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  controls.dampingFactor = 0.12;
  controls.enablePan = false;
  Surface.light(scene, camera);

  const state = { frame: 0, colour: "side", truth: false, playing: false };
  const made = new Map();
  let waiting = false;

  function materialsOf(part) {
    const plain = new THREE.Color().setRGB(...part.colour, "srgb");
    const common = { roughness: 0.72, metalness: 0, side: THREE.DoubleSide };
    return {
      plain: new THREE.MeshStandardMaterial({ ...common, color: plain }),
      painted: new THREE.MeshStandardMaterial({ ...common, vertexColors: true }),
      glass: Surface.glass(plain),
    };
  }

  // The triangles with a corner inside the other hand, which from outside hides them.
  function innerOf(mesh) {
    const { part } = mesh.userData;
    const flags = new Uint8Array(Surface.bytes(part.inside));
    const corners = mesh.geometry.index.array;
    const chosen = [];
    for (let i = 0; i < corners.length; i += 3) {
      const face = corners.subarray(i, i + 3);
      if (face.some((corner) => flags[corner])) chosen.push(...face);
    }
    const geometry = new THREE.BufferGeometry();
    for (const name of ["position", "normal"]) geometry.setAttribute(name, mesh.geometry.getAttribute(name));
    geometry.setIndex(chosen);
    const colour = new THREE.Color().setRGB(...data.inside, "srgb");
    const material = new THREE.MeshStandardMaterial({ roughness: 0.72, color: colour, side: THREE.DoubleSide });
    const inner = new THREE.Mesh(geometry, material);
    mesh.add(inner);
    return inner;
  }

  function meshOf(part) {
    const mesh = new THREE.Mesh(Surface.geometry(part));
    mesh.userData = { part, materials: materialsOf(part) };
    mesh.visible = false;
    scene.add(mesh);
    return mesh;
  }

  function meshes(frame) {
    if (!made.has(frame)) {
      if (made.size > 40) forget(made.keys().next().value);
      const { panels, truth } = data.frames[frame];
      made.set(frame, { panels: panels.map((parts) => parts.map(meshOf)), truth: truth.map(meshOf) });
    }
    return made.get(frame);
  }

  function forget(frame) {
    const { panels, truth } = made.get(frame);
    for (const mesh of [...panels.flat(), ...truth]) {
      scene.remove(mesh);
      mesh.geometry.dispose();
      Object.values(mesh.userData.materials).forEach((material) => material.dispose());
      if (mesh.userData.inner) mesh.userData.inner.geometry.dispose();
    }
    made.delete(frame);
  }

  function dress(mesh) {
    const { part, materials } = mesh.userData;
    const inside = state.colour === "inside" && Boolean(part.inside);
    if (inside) mesh.userData.inner ||= innerOf(mesh);
    if (mesh.userData.inner) mesh.userData.inner.visible = inside;
    mesh.renderOrder = inside ? 1 : 0;
    mesh.material = inside ? materials.glass : materials.plain;
    if (state.colour === "error" && part.distances) {
      if (!mesh.geometry.hasAttribute("color")) {
        const colours = Surface.errorColours(new Uint16Array(Surface.bytes(part.distances)), data);
        mesh.geometry.setAttribute("color", new THREE.BufferAttribute(colours, 3));
      }
      mesh.material = materials.painted;
    }
  }

  function showFrame(frame) {
    const before = made.get(state.frame);
    if (before) [...before.panels.flat(), ...before.truth].forEach((mesh) => (mesh.visible = false));
    state.frame = frame;
    slider.value = String(frame);
    const shown = data.frames[frame];
    box.querySelector(".frame-name").textContent = `${shown.label} (${frame + 1} of ${data.frames.length})`;
    cells.forEach((cell, i) => cell.classList.toggle("bare", shown.panels[i].length === 0));
    restyle();
  }

  function restyle() {
    const { panels, truth } = meshes(state.frame);
    panels.flat().forEach(dress);
    truth.forEach((mesh) => {
      mesh.material = mesh.userData.materials.glass;
      mesh.renderOrder = 2;
    });
    box.dataset.colour = state.colour;
    box.dataset.truth = String(state.truth);
    ask();
  }

  function ask() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(draw);
  }

  function draw() {
    waiting = false;
    const moving = controls.update();
    const { clientWidth: width, clientHeight: height } = board;
    renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    renderer.setSize(width, height, false);
    renderer.setScissorTest(true);
    const { panels, truth } = meshes(state.frame);
    cells.forEach((cell, i) => {
      panels.forEach((parts, other) => parts.forEach((mesh) => (mesh.visible = other === i)));
      truth.forEach((mesh) => (mesh.visible = state.truth));
      const { offsetLeft: left, offsetTop: top, offsetWidth: wide, offsetHeight: high } = cell;
      renderer.setViewport(left, height - top - high, wide, high);
      renderer.setScissor(left, height - top - high, wide, high);
      camera.aspect = wide / high;
      camera.updateProjectionMatrix();
      renderer.render(scene, camera);
    });
    root.dataset.viewer = "ready";
    if (moving) ask();
  }

  // Where the hands of a frame fill a panel, seen along the camera's axis.
  function distanceOf({ panels, truth }) {
    const slope = FILLED * Math.tan((FIELD_OF_VIEW * Math.PI) / 360);
    const aspect = cells[0].offsetWidth / cells[0].offsetHeight;
    let distance = 10;
    for (const part of truth.length ? truth : panels.flat()) {
      const reach = [0, 1, 2].map((i) => Math.max(Math.abs(part.low[i]), Math.abs(part.low[i] + part.span[i])));
      distance = Math.max(distance, reach[2] + Math.max(reach[1], reach[0] / aspect) / slope);
    }
    return distance;
  }

  // The frame that is shown and most others fit; a few frames with hands far apart do not make all hands small.
  function reset() {
    const all = data.frames.map(distanceOf).sort((a, b) => a - b);
    const distance = Math.max(distanceOf(data.frames[state.frame]), all[Math.floor(0.75 * (all.length - 1))]);
    camera.near = distance / 50;
    camera.far = distance * 20;
    camera.position.set(0, 0, distance);
    controls.target.set(0, 0, 0);
    controls.minDistance = distance / 8;
    controls.maxDistance = distance * 4;
    controls.update();
    ask();
  }

  const play = box.querySelector("[data-act=play]");
  let timer = 0;
  play.addEventListener("click", () => {
    state.playing = !state.playing;
    play.setAttribute("aria-pressed", String(state.playing));
    clearInterval(timer);
    if (state.playing) timer = setInterval(() => showFrame((state.frame + 1) % data.frames.length), 1000 / FRAMES_PER_SECOND);
  });
  slider.addEventListener("input", () => showFrame(Number(slider.value)));
  box.querySelectorAll("input[name=colour]").forEach((input) =>
    input.addEventListener("change", () => {
      state.colour = input.value;
      restyle();
    }),
  );
  truthBox.addEventListener("change", () => {
    state.truth = truthBox.checked;
    restyle();
  });
  box.querySelector("[data-act=reset]").addEventListener("click", reset);
  Surface.turnWithKeys(canvas, camera, controls, ask);
  controls.addEventListener("change", ask);
  let size = "";
  new ResizeObserver(() => {
    const now = `${board.clientWidth} ${board.clientHeight}`;
    if (now !== size) reset();
    size = now;
  }).observe(board);

  // Browsers restore what was ticked when a page is reloaded.
  state.colour = box.querySelector("input[name=colour]:checked").value;
  state.truth = truthBox.checked;
  showFrame(Math.min(Number(slider.value), data.frames.length - 1));
  reset();
})();
