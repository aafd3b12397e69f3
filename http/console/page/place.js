// Where somebody is in a list that changes under them: at its end, and there they stay; or further up, and then what they
// look at stays where it is.
//
// Every change of the layout is met, whoever made it: text, read marks, pictures, fonts, the size of the window. Those
// that leave the size as it was, a mark that moves from one message to another, must be told with keep().

const END_PX = 24; // as near as that is at the end

export class Place {
  // scroll: what scrolls; list: inside it, its children are looked at; onMoved(): somebody has scrolled.
  constructor(scroll, list, onMoved) {
    this.isAtEnd = true;
    this._scroll = scroll;
    this._list = list;
    this._onMoved = onMoved;
    this._item = null; // the topmost one in sight, and how far below the upper edge it stands
    this._below = 0;
    this._was = null; // scrollTop when last looked at; null: out of sight, and not to be compared
    scroll.addEventListener("scroll", () => this._moved(), { passive: true });
    const observer = new ResizeObserver(() => this.keep());
    observer.observe(scroll);
    observer.observe(list);
  }

  toEnd() {
    this.isAtEnd = true;
    this._was = null;
    this.keep();
  }

  keep() {
    const scroll = this._scroll;
    if (scroll.clientHeight === 0) {
      this._was = null; // out of sight: kept when it comes back
      return;
    }
    const moved = this._was === null ? 0 : scroll.scrollTop - this._was; // by somebody, and the event is still to come
    if (this.isAtEnd && moved < 0) this._look();
    else this._below -= moved;
    if (this.isAtEnd) scroll.scrollTop = scroll.scrollHeight;
    else if (this._item?.isConnected) scroll.scrollTop += this._edge(this._item) - this._below;
    this._was = scroll.scrollTop;
  }

  _moved() {
    if (this._scroll.clientHeight === 0) return;
    this._look();
    this._onMoved();
  }

  _look() {
    const { scrollTop, scrollHeight, clientHeight } = this._scroll;
    const isNear = scrollHeight - scrollTop - clientHeight < END_PX;
    // What grows below moves nobody away from the end: only whoever goes up leaves it.
    this.isAtEnd = isNear || (this.isAtEnd && (this._was === null || scrollTop >= this._was));
    this._was = scrollTop;
    this._item = this.isAtEnd ? null : this._topmost();
    if (this._item) this._below = this._edge(this._item);
  }

  _edge(item) {
    return item.getBoundingClientRect().top - this._scroll.getBoundingClientRect().top;
  }

  // The first item that begins in sight: one that only ends there may grow at its end. Else the one that fills it all.
  _topmost() {
    const items = this._list.children;
    let [low, high] = [0, items.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this._edge(items[middle]) < 0) low = middle + 1;
      else high = middle;
    }
    const isInSight = low < items.length && this._edge(items[low]) < this._scroll.clientHeight;
    return items[isInSight ? low : low - 1] || null;
  }
}
