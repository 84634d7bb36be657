// The filter box: the language of --where. Grammar, rules and messages are those of
// qatexp/compare/where/, which the tests hold this file to.
const Where = (() => {
  const CONSTANTS = { true: true, false: false, null: null, none: null };
  const COMPARISONS = ["<", "<=", ">", ">=", "==", "!=", "="];
  const DEEPEST = 40;
  const PATTERN = new RegExp(
    "\\s*(?:([-+]?(?:\\d+\\.?\\d*|\\.\\d+)(?:[eE][-+]?\\d+)?)" + // 1 number
      "|('[^']*'|\"[^\"]*\")" + // 2 text
      "|([A-Za-z_][A-Za-z0-9_]*(?:[./][A-Za-z0-9_]+)*)" + // 3 word
      "|(<=|>=|==|!=|[<>=()\\[\\],]))", // 4 sign
    "y",
  );

  function token(match) {
    if (match[1] !== undefined) return { kind: "number", written: match[1] };
    if (match[2] !== undefined) return { kind: "text", written: match[2] };
    if (match[4] !== undefined) return { kind: "sign", written: match[4] };
    const word = match[3];
    if (["and", "or", "not", "in"].includes(word)) return { kind: "keyword", written: word };
    const isConstant = Object.hasOwn(CONSTANTS, word.toLowerCase());
    return { kind: isConstant ? "constant" : "name", written: word };
  }

  function tokens(expression) {
    const text = expression.trimEnd();
    const found = [];
    for (PATTERN.lastIndex = 0; PATTERN.lastIndex < text.length; ) {
      const start = PATTERN.lastIndex;
      const match = PATTERN.exec(text);
      if (match === null) throw new Error(`cannot read '${text.slice(start).trim().slice(0, 20)}'`);
      found.push(token(match));
    }
    return [...found, { kind: "end", written: "the end" }];
  }

  function parse(text, resolve) {
    const words = tokens(text);
    let at = 0;

    function take(written) {
      const taken = ["keyword", "sign"].includes(words[at].kind) && words[at].written === written;
      if (taken) at += 1;
      return taken;
    }
    function expect(written) {
      if (!take(written)) throw new Error(`${written} is expected before ${words[at].written}`);
    }
    function joined(word, depth) {
      const part = () => (word === "or" ? joined("and", depth) : contrary(depth));
      const parts = [part()];
      while (take(word)) parts.push(part());
      return parts.length === 1 ? parts[0] : { join: word, parts };
    }
    function contrary(depth) {
      if (depth > DEEPEST) throw new Error(`brackets are nested more than ${DEEPEST} deep`);
      if (take("not")) return { not: contrary(depth + 1) };
      if (!take("(")) return comparison();
      const inner = joined("or", depth + 1);
      expect(")");
      return inner;
    }
    function comparison() {
      const operands = [operand(false)];
      const signs = [];
      for (let found = sign(); found !== null; found = sign()) {
        signs.push(found);
        operands.push(operand(found === "in" || found === "not in"));
      }
      return { operands, signs };
    }
    function sign() {
      if (take("in")) return "in";
      if (words[at].written === "not" && words[at + 1].written === "in") {
        at += 2;
        return "not in";
      }
      if (words[at].kind !== "sign" || !COMPARISONS.includes(words[at].written)) return null;
      const written = words[at].written;
      at += 1;
      return written === "=" ? "==" : written;
    }
    function operand(inList) {
      const { kind, written } = words[at];
      if (written === "[" || (inList && written === "(")) return list();
      at += 1;
      if (kind === "number") return { value: Number(written) };
      if (kind === "text") return { value: written.slice(1, -1) };
      if (kind === "constant") return { value: CONSTANTS[written.toLowerCase()] };
      if (kind === "name") return { key: resolve(written), written };
      throw new Error(`a name or a value is expected before ${written}`);
    }
    function list() {
      const closing = words[at].written === "(" ? ")" : "]";
      at += 1;
      const value = [];
      while (!take(closing)) {
        const item = operand(false);
        if (item.key !== undefined) {
          throw new Error(`a list holds values; text goes in quotes: '${item.written}'`);
        }
        value.push(item.value);
        if (words[at].written !== closing) expect(",");
      }
      return { value };
    }

    const node = joined("or", 0);
    if (words[at].kind !== "end") {
      throw new Error(`and, or, or the end is expected before ${words[at].written}`);
    }
    return node;
  }

  const kind = (value) => {
    if (value === null || value === undefined) return "null";
    return Array.isArray(value) ? "list" : typeof value;
  };

  function equal(left, right) {
    if (kind(left) !== kind(right)) return false;
    if (kind(left) === "null") return true;
    if (kind(left) !== "list") return left === right;
    return left.length === right.length && left.every((item, i) => equal(item, right[i]));
  }

  function contains(container, item) {
    if (Array.isArray(container)) return container.some((element) => equal(item, element));
    return typeof container === "string" && typeof item === "string" && container.includes(item);
  }

  function compare(sign, left, right) {
    if (sign === "in" || sign === "not in") return contains(right, left) === (sign === "in");
    if (sign === "==" || sign === "!=") return equal(left, right) === (sign === "==");
    if (kind(left) !== kind(right) || !["number", "string"].includes(kind(left))) return false;
    if (sign === "<") return left < right;
    if (sign === "<=") return left <= right;
    return sign === ">" ? left > right : left >= right;
  }

  function holds(node, values) {
    if (node.not) return !holds(node.not, values);
    if (node.join) {
      const parts = node.parts.map((part) => holds(part, values));
      return node.join === "and" ? parts.every(Boolean) : parts.some(Boolean);
    }
    const own = (key) => (Object.hasOwn(values, key) ? values[key] : null);
    const found = node.operands.map((o) => (o.key === undefined ? o.value : own(o.key)));
    if (node.signs.length > 0) {
      return node.signs.map((sign, i) => compare(sign, found[i], found[i + 1])).every(Boolean);
    }
    if (typeof found[0] === "boolean" || found[0] === null) return found[0] === true;
    const written = node.operands[0].written ?? String(found[0]);
    throw new Error(`${written} is neither true nor false: compare it, ${written} == ...`);
  }

  /** The full key for a name, from the vocabulary that Python has collected. */
  function resolver({ keys, short, ambiguous, shown }) {
    return (name) => {
      if (keys.includes(name)) return name;
      if (Object.hasOwn(short, name)) return short[name];
      if (Object.hasOwn(ambiguous, name)) {
        throw new Error(`${name} may be ${ambiguous[name].join(" or ")}: give more of it`);
      }
      const known = [...shown, ...Object.keys(short), ...keys];
      const near = known.filter((other) => name.length > 1 && other.includes(name)).slice(0, 3);
      const proposed = near.length ? near : [...shown, "qat/deployed_top1", "size_bytes"];
      const hint = `try ${[...new Set(proposed)].join(" or ")}`;
      throw new Error(`unknown name ${name} (text goes in quotes: '${name}'); ${hint}`);
    };
  }

  return { parse, holds, resolver };
})();
