// One answer as data: what was read of its tokens, and means over the layers that are shown.

const mean = (values) => {
  const known = values.filter((one) => one !== null && one !== undefined);
  return known.length ? known.reduce((sum, one) => sum + one, 0) / known.length : null;
};

export class Answer {
  constructor(started) {
    this.title = started.title;
    this.isGiven = started.is_given;
    this.nLayers = started.n_layers;
    this.concept = started.concept;
    this.monitor = started.monitor ?? null;
    this.tokens = [];
    this.outcome = null;
    this.attentionLayers = null;
  }

  /** Activity of a token, averaged over layers first to last; null where none of them has any. */
  activity(index, [first, last]) {
    const values = this.tokens[index].activity;
    return values ? mean(values.slice(first, last + 1)) : null;
  }

  /** Attention of a token to each segment, averaged over the heads of layers first to last. */
  mass(index, [first, last]) {
    const rows = this.tokens[index].mass;
    const layers = this.attentionLayers ?? rows.map((_, place) => place);
    const shown = rows.filter((_, place) => layers[place] >= first && layers[place] <= last);
    return [0, 1, 2, 3, 4].map((segment) => mean(shown.map((row) => row[segment])));
  }

  meanLogprob() {
    return mean(this.tokens.map((token) => token.logprob));
  }

  firstAlarm() {
    const found = this.tokens.find((token) => token.alarm);
    return found ? found.answer_position + 1 : null;
  }
}
