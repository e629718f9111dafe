// A notebook page as VS Code has it: the widget manager that VS Code ships (npm: @vscode/jupyter-ipywidgets8), a kernel
// that is told messages by hand, and outputs that are put where their data says, the widget before the HTML.

const WIDGET_VIEW = "application/vnd.jupyter.widget-view+json";

// As much of RequireJS as the manager and anywidget ask for.
const modules = {};
let loading = "";
globalThis.define = (...values) => {
  const factory = values.pop();
  const needs = Array.isArray(values.at(-1)) ? values.pop() : [];
  let made; // a module is made once, when it is first asked for
  modules[values[0] ?? loading] = () => (made ??= factory(...needs.map((name) => modules[name]())));
};
globalThis.requirejs = (names, found, failed) => {
  const missing = names.filter((name) => !modules[name]);
  if (missing.length) failed?.(new Error(`no module ${missing}`));
  else found(...names.map((name) => modules[name]()));
};

const signal = () => ({ connect: () => true, disconnect: () => true, emit() {} });

class Comm {
  constructor(kernel, target, id) {
    Object.assign(this, { kernel, targetName: target, commId: id, isDisposed: false });
    kernel.comms.set(id, this);
  }
  open(data) {
    this.tell("comm_open", data);
  }
  send(data) {
    return this.tell("comm_msg", data);
  }
  close(data) {
    return this.tell("comm_close", data);
  }
  dispose() {}
  tell(type, data) {
    this.kernel.sent.push({ type, content: { comm_id: this.commId, target_name: this.targetName, data } });
    return { msg: { header: { msg_id: "" } }, done: Promise.resolve(), dispose() {} };
  }
}

class Kernel {
  sent = [];
  comms = new Map();
  targets = new Map();
  status = "idle";
  connectionStatus = "connected";
  handleComms = true;
  id = "recorded";
  name = "recorded";
  statusChanged = signal();
  connectionStatusChanged = signal();
  iopubMessage = signal();
  unhandledMessage = signal();
  disposed = signal();
  registerCommTarget(name, callback) {
    this.targets.set(name, callback);
  }
  removeCommTarget(name) {
    this.targets.delete(name);
  }
  createComm(target, id) {
    return new Comm(this, target, id ?? `page-${this.comms.size}`);
  }
  requestCommInfo() {
    return Promise.resolve({ content: { status: "ok", comms: {} } });
  }
  registerMessageHook() {}
  removeMessageHook() {}
  async take(message) {
    const { comm_id, target_name } = message.content;
    if (message.header.msg_type === "comm_open")
      await this.targets.get(target_name)?.(new Comm(this, target_name, comm_id), message);
    else await this.comms.get(comm_id)?.onMsg?.(message);
  }
}

/** What a page holds: its outputs by their ids, and once started the kernel and the widget manager. */
const outputs = new Map();
let kernel;
let manager;

/** Start over, with a page that knows of no widget. */
export async function start({ managerUrl, anywidgetUrl }) {
  const { activate } = await import(managerUrl);
  activate();
  globalThis.vscIPyWidgets8.load();
  const loaded = new Set();
  const loadWidgetScript = (name) =>
    new Promise((resolve, reject) => {
      loading = name;
      const script = document.createElement("script");
      Object.assign(script, { src: anywidgetUrl, onload: resolve, onerror: reject });
      document.head.append(script);
      loaded.add(name);
    });
  const loader = { widgetsRegisteredInRequireJs: loaded, loadWidgetScript, successHandler() {}, errorHandler() {} };
  kernel = new Kernel();
  manager = new globalThis.vscIPyWidgets.WidgetManager(kernel, document.body, loader, () => {});
}

let last = Promise.resolve();

/** Take a message of the kernel's once those before it are done, as kernel connections do. */
export function take(message, options) {
  last = last.then(() => takeOne(message, options)).catch((error) => console.error(error));
  return last;
}

/** Displays go to an output of their own; nobody waits for what they show. */
async function takeOne(message, { showViews = true } = {}) {
  const type = message.header.msg_type;
  if (type.startsWith("comm_")) return kernel.take(message);
  const id = message.content.transient?.display_id ?? `output-${outputs.size}`;
  if (type === "update_display_data" && !outputs.has(id)) return;
  const output = outputs.get(id) ?? document.body.appendChild(document.createElement("section"));
  outputs.set(id, output);
  output.data = message.content.data;
  if (showViews) show(output);
}

/** Put what an output holds into the page. */
export async function show(output) {
  const view = output.data[WIDGET_VIEW];
  output.dataset.kind = view ? "widget" : "static";
  if (!view) {
    output.innerHTML = output.data["text/html"] ?? "";
    if (!output.data["text/html"]) output.textContent = output.data["text/plain"] ?? "";
    return;
  }
  output.replaceChildren();
  const model = await manager.get_model(view.model_id);
  await manager.display_view(view, await manager.create_view(model, { el: output }), { node: output });
}

/** What the page said to the kernel. */
export const sent = () => kernel.sent;

export const showAll = () => Promise.all([...outputs.values()].map(show));
