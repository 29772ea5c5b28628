// The interactive view. Reads the JSON that report/viewer.py writes, draws with the bundled parts of three.js on demand.
"use strict";
(() => {
  const root = document.documentElement;
  const box = document.querySelector("#viewer");
  if (!box) {
    root.dataset.viewer = "absent";
    return;
  }
  const data = JSON.parse(document.querySelector("#viewer-data").textContent);
  const stage = box.querySelector(".stage");
  const canvas = stage.querySelector("canvas");
  const readout = stage.querySelector(".readout");

  const renderer = Surface.renderer(canvas, box);
  if (!renderer) return;

  const FIELD_OF_VIEW = 24; // degrees
  const FILLED = 0.84; // part of the view's height or width that the hands fill at first
  const scene = new THREE.Scene();
  const camera = new THREE.PerspectiveCamera(FIELD_OF_VIEW, 1, 10, 10000);
  const controls = new THREE.OrbitControls(camera, canvas);
  controls.enableDamping = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  controls.dampingFactor = 0.12;
  controls.enablePan = false;
  // The page scrolls past the view: the wheel zooms only after a click, one finger turns sideways, two fingers zoom.
  controls.enableZoom = false;
  canvas.style.touchAction = "pan-y";
  canvas.addEventListener("pointerdown", () => (controls.enableZoom = true));
  canvas.addEventListener("pointerleave", () => (controls.enableZoom = false));
  Surface.light(scene, camera);

  const state = { pair: 0, mode: "overlay", method: data.methods[0], turning: false };
  const groups = new Map();
  let waiting = false;

  const errorColours = (distances) => Surface.errorColours(distances, data);

  function meshOf(part) {
    const geometry = Surface.geometry(part);
    // Of a predicted hand to the truth; of a true hand to what each method predicted.
    const distances = {};
    const packed = part.method ? { [part.method]: part.distances } : part.distances;
    for (const key of Object.keys(packed)) distances[key] = new Uint16Array(Surface.bytes(packed[key]));
    const plain = new THREE.Color().setRGB(...data.colours[part.role][part.side], "srgb");
    const common = { roughness: 0.72, metalness: 0 };
    const materials = {
      plain: new THREE.MeshStandardMaterial({ ...common, color: plain, side: THREE.DoubleSide }),
      error: new THREE.MeshStandardMaterial({ ...common, vertexColors: true, side: THREE.DoubleSide }),
      glass: Surface.glass(plain),
    };
    const mesh = new THREE.Mesh(geometry, materials.plain);
    mesh.userData = { role: part.role, method: part.method, distances, materials, colours: {} };
    return mesh;
  }

  function groupOf(index) {
    if (!groups.has(index)) {
      const group = new THREE.Group();
      data.pairs[index].parts.forEach((part) => group.add(meshOf(part)));
      groups.set(index, group);
      scene.add(group);
    }
    return groups.get(index);
  }

  // What every mode shows: role -> how ("plain", "glass" or "error").
  const MODES = {
    truth: { truth: "plain" },
    prediction: { prediction: "plain" },
    overlay: { truth: "glass", prediction: "plain" },
    compare: { truth: "plain", prediction: "plain" },
    error: { prediction: "error" },
    missed: { truth: "error" },
  };

  function belongs(mesh) {
    return !mesh.userData.method || mesh.userData.method === state.method;
  }

  function paintErrors(mesh) {
    const { colours, distances } = mesh.userData;
    colours[state.method] ||= new THREE.BufferAttribute(errorColours(distances[state.method]), 3);
    mesh.geometry.setAttribute("color", colours[state.method]);
  }

  function dress() {
    const looks = MODES[state.mode];
    const current = groupOf(state.pair);
    groups.forEach((group) => (group.visible = group === current));
    for (const mesh of current.children) {
      const look = belongs(mesh) && looks[mesh.userData.role];
      mesh.visible = Boolean(look);
      if (look === "error") paintErrors(mesh);
      mesh.material = mesh.userData.materials[look || "plain"];
      mesh.renderOrder = look === "glass" ? 1 : 0;
    }
    box.dataset.mode = state.mode;
    readout.textContent = "";
    ask();
  }

  // The distance at which truth and prediction fill the view, seen along the photograph's direction.
  function fittingDistance(towards, aspect) {
    const right = new THREE.Vector3().crossVectors(camera.up, towards).normalize();
    const up = new THREE.Vector3().crossVectors(towards, right);
    const slope = FILLED * Math.tan((FIELD_OF_VIEW * Math.PI) / 360);
    const point = new THREE.Vector3();
    let distance = 1;
    for (const mesh of groupOf(state.pair).children) {
      const positions = mesh.geometry.getAttribute("position");
      for (let i = 0; i < positions.count; i++) {
        point.fromBufferAttribute(positions, i);
        const reach = Math.max(Math.abs(point.dot(up)), Math.abs(point.dot(right)) / aspect);
        distance = Math.max(distance, point.dot(towards) + reach / slope);
      }
    }
    return distance;
  }

  function lookLikeThePhotograph() {
    const width = state.mode === "compare" ? stage.clientWidth / 2 : stage.clientWidth;
    const towards = new THREE.Vector3(...data.pairs[state.pair].eye).normalize();
    const distance = fittingDistance(towards, width / stage.clientHeight);
    camera.position.copy(towards).multiplyScalar(distance);
    controls.target.set(0, 0, 0);
    controls.minDistance = distance / 6;
    controls.maxDistance = distance * 3;
    controls.update();
    ask();
  }

  function ask() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(draw);
  }

  function drawHalf(left, width, height, role) {
    for (const mesh of groupOf(state.pair).children) mesh.visible = mesh.userData.role === role && belongs(mesh);
    renderer.setViewport(left, 0, width, height);
    renderer.setScissor(left, 0, width, height);
    renderer.render(scene, camera);
  }

  function draw() {
    waiting = false;
    controls.autoRotate = state.turning;
    controls.autoRotateSpeed = 1.6;
    const moving = controls.update() || state.turning;
    const { clientWidth: width, clientHeight: height } = stage;
    renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    renderer.setSize(width, height, false);
    const halves = state.mode === "compare";
    camera.aspect = (halves ? width / 2 : width) / height;
    camera.updateProjectionMatrix();
    renderer.setScissorTest(halves);
    if (halves) {
      drawHalf(0, width / 2, height, "truth");
      drawHalf(width / 2, width / 2, height, "prediction");
    } else {
      renderer.setViewport(0, 0, width, height);
      renderer.render(scene, camera);
    }
    root.dataset.viewer = "ready";
    if (moving) ask();
  }

  const caster = new THREE.Raycaster();
  let pointer = null;
  function probe() {
    const event = pointer;
    pointer = null;
    const looks = MODES[state.mode];
    if (!event || !Object.values(looks).includes("error")) return;
    const frame = canvas.getBoundingClientRect();
    const place = new THREE.Vector2(
      (2 * (event.clientX - frame.left)) / frame.width - 1,
      1 - (2 * (event.clientY - frame.top)) / frame.height,
    );
    caster.setFromCamera(place, camera);
    const shown = groupOf(state.pair).children.filter((mesh) => mesh.visible);
    const [hit] = caster.intersectObjects(shown, false);
    if (!hit) {
      readout.textContent = "";
      return;
    }
    const distances = hit.object.userData.distances[state.method];
    const nearest = [hit.face.a, hit.face.b, hit.face.c].map((i) => distances[i]).sort((a, b) => a - b)[1];
    readout.textContent = nearest === data.unknownDistance ? "no prediction" : `${(nearest / 100).toFixed(1)} mm`;
    readout.style.transform = `translate(${event.clientX - frame.left + 14}px, ${event.clientY - frame.top - 30}px)`;
  }
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons) return;
    if (!pointer) requestAnimationFrame(probe);
    pointer = event;
  });
  canvas.addEventListener("pointerleave", () => (readout.textContent = ""));

  Surface.turnWithKeys(canvas, camera, controls, ask);

  box.querySelectorAll("input[name=viewer-mode]").forEach((input) =>
    input.addEventListener("change", () => {
      const refit = (input.value === "compare") !== (state.mode === "compare");
      state.mode = input.value;
      dress();
      if (refit) lookLikeThePhotograph();
    }),
  );
  const choice = box.querySelector("select[name=viewer-method]");
  choice.addEventListener("change", () => {
    state.method = choice.value;
    dress();
  });
  box.querySelectorAll("input[name=viewer-pair]").forEach((input) =>
    input.addEventListener("change", () => {
      state.pair = Number(input.value);
      dress();
      lookLikeThePhotograph();
    }),
  );
  box.querySelector("[data-act=reset]").addEventListener("click", lookLikeThePhotograph);
  box.querySelector("[data-act=turn]").addEventListener("click", (event) => {
    state.turning = !state.turning;
    event.currentTarget.setAttribute("aria-pressed", String(state.turning));
    ask();
  });
  controls.addEventListener("change", ask);
  let width = 0;
  new ResizeObserver(() => {
    if (stage.clientWidth !== width) {
      width = stage.clientWidth;
      lookLikeThePhotograph();
    }
  }).observe(stage);

  // Browsers restore ticked boxes when a page is reloaded: start from what is ticked.
  state.mode = box.querySelector("input[name=viewer-mode]:checked").value;
  state.method = choice.value;
  state.pair = Number(box.querySelector("input[name=viewer-pair]:checked").value);
  dress();
  lookLikeThePhotograph();
})();
