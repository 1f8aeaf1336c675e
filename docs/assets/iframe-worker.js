// Makes the search work in pages that are opened from a folder. Browsers start no worker for a file:// address, so the
// worker's script runs in a hidden frame instead, and talks to the page as a worker would.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.documentElement.append(this.frame)
      const inner = this.frame.contentWindow
      const page = inner.document
      page.open()
      page.write("<!doctype html><title>search</title>")
      page.close()
      const load = address => new Promise((loaded, failed) => {
        const script = page.createElement("script")
        script.src = address
        script.onload = loaded
        script.onerror = failed
        page.documentElement.append(script)
      })
      inner.importScripts = (...addresses) => addresses.reduce((before, next) => before.then(() => load(next)), Promise.resolve())
      inner.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      this.ready = load(url)
    }

    postMessage(data) {
      this.ready.then(() => {
        const inner = this.frame.contentWindow
        inner.dispatchEvent(new inner.MessageEvent("message", { data }))
      })
    }
  }
}
