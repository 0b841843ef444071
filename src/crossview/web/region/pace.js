// A browser without a GPU draws the map in software. There, and where frames turn out slow, the map
// gets fewer pixels while it moves, and all of them again when it rests.

const SLOW_MS = 50;
const ENOUGH = 3; // slow frames more than quick ones
const COARSE = 1 / 3;
const REST_MS = 600;

const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i;

function drawnInSoftware(canvas) {
  const gl = canvas.getContext("webgl2") ?? canvas.getContext("webgl");
  const names = gl?.getExtension("WEBGL_debug_renderer_info");
  return Boolean(names) && SOFTWARE.test(gl.getParameter(names.UNMASKED_RENDERER_WEBGL));
}

export function keepPace(map) {
  const full = map.getPixelRatio();
  let [slow, last, timer] = [drawnInSoftware(map.getCanvas()) ? 4 * ENOUGH : 0, 0, null];

  function rest() {
    if (map.isMoving()) timer = setTimeout(rest, REST_MS);
    else map.setPixelRatio(full);
  }

  function coarse() {
    if (slow < ENOUGH) return;
    clearTimeout(timer);
    timer = setTimeout(rest, REST_MS);
    if (map.getPixelRatio() === full) map.setPixelRatio(full * COARSE);
  }

  map.on("render", () => {
    const now = performance.now();
    if (map.isMoving()) {
      if (last) slow = now - last > SLOW_MS ? Math.min(slow + 1, 4 * ENOUGH) : Math.max(slow - 1, 0);
      coarse();
    }
    last = map.isMoving() ? now : 0;
  });
}
