// What the page shows now; panels are told when it changes, and of what.

export class Store {
  constructor(values) {
    this.values = values;
    this.listeners = [];
  }

  get(name) {
    return this.values[name];
  }

  set(changes) {
    Object.assign(this.values, changes);
    const names = new Set(Object.keys(changes));
    for (const [wanted, listener] of this.listeners)
      if (wanted.some((name) => names.has(name))) listener(this.values);
  }

  /** Be told when one of these changes, and once at the start. */
  on(names, listener) {
    this.listeners.push([names, listener]);
    listener(this.values);
  }
}
