// Draws /openapi.json. Text goes in as text nodes only, so nothing of the document can become markup.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// A schema as an example-like outline; references are followed, and cut where they meet themselves.
function outline(schema, components, seen) {
  if (!schema) return null;
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return seen.includes(name) ? `<${name}>` : outline(components[name], components, [...seen, name]);
  }
  const choices = schema.anyOf || schema.oneOf || schema.allOf;
  if (choices) {
    const real = choices.filter((choice) => choice.type !== "null");
    return real.length === 1 ? outline(real[0], components, seen) : real.map((choice) => outline(choice, components, seen));
  }
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.type === "array") return [outline(schema.items, components, seen)];
  if (schema.properties) {
    const fields = {};
    for (const [name, field] of Object.entries(schema.properties)) {
      const isNeeded = (schema.required || []).includes(name);
      fields[name + (isNeeded ? "" : "?")] = outline(field, components, seen);
    }
    return fields;
  }
  return schema.format || schema.type || "any";
}

function body(title, content, components) {
  const schema = content && content["application/json"] && content["application/json"].schema;
  if (!schema) return null;
  const text = JSON.stringify(outline(schema, components, []), null, 2);
  return make("div", {}, make("h3", {}, title), make("pre", {}, text));
}

function parameters(list) {
  if (!list || !list.length) return null;
  const rows = list.map((parameter) =>
    make("tr", {}, make("td", {}, make("code", {}, parameter.name)), make("td", {}, parameter.in),
      make("td", {}, (parameter.schema && parameter.schema.type) || ""), make("td", {}, parameter.description || "")));
  return make("div", {}, make("h3", {}, "Parameters"), make("table", {}, ...rows));
}

function answers(responses, components) {
  return Object.entries(responses || {}).map(([status, response]) =>
    status < "300"
      ? body(`${status} ${response.description}`, response.content, components)
      : make("p", {}, make("strong", {}, status), ` ${response.description}`));
}

function access(operation) {
  if (!operation.security) return "Open to everybody.";
  const open = operation.security.some((scheme) => Object.keys(scheme).length === 0);
  return open ? "With or without a session, a JWT or an API key." : "Needs a session, a JWT or an API key.";
}

function card(path, method, operation, components) {
  return make("details", { "data-text": `${method} ${path} ${operation.summary || ""}`.toLowerCase() },
    make("summary", {}, make("span", { class: `method ${method}` }, method.toUpperCase()), make("code", {}, path),
      make("span", {}, operation.summary || "")),
    make("div", {}, operation.description ? make("p", {}, operation.description) : null,
      make("p", {}, access(operation)), parameters(operation.parameters),
      operation.requestBody ? body("Body", operation.requestBody.content, components) : null,
      ...answers(operation.responses, components)));
}

function draw(api) {
  const components = (api.components && api.components.schemas) || {};
  const groups = new Map();
  for (const [path, operations] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((name) => operations[name])) {
      const group = (operations[method].tags || ["other"])[0];
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(card(path, method, operations[method], components));
    }
  }
  document.getElementById("title").textContent = `${api.info.title} ${api.info.version}`;
  document.getElementById("about").textContent = api.info.description || "";
  document.getElementById("operations").replaceChildren(
    ...[...groups].map(([name, cards]) => make("section", {}, make("h2", {}, name), ...cards)));
}

function find(words) {
  for (const element of document.querySelectorAll("details")) {
    element.hidden = !element.dataset.text.includes(words.trim().toLowerCase());
  }
  for (const section of document.querySelectorAll("section")) {
    section.hidden = !section.querySelector("details:not([hidden])");
  }
}

document.getElementById("find").addEventListener("input", (event) => find(event.target.value));
fetch("/openapi.json")
  .then((response) => response.json())
  .then(draw)
  .catch((fault) => {
    document.getElementById("operations").replaceChildren(make("p", {}, `The description cannot be shown: ${fault}`));
  });
