// Reads a JSON schema as people would say it: the fields of an object, the type of a field.

const named = (schema, api) => (schema?.$ref ? schema.$ref.split('/').slice(1).reduce((place, step) => place?.[step], api) : schema);

/** The fields of an object, of all parts it is made of, or of the items of a list. */
export function fieldsOf(schema, api) {
  const known = named(schema, api);
  if (!known) return [];
  const parts = known.allOf ?? (known.type === 'array' ? [known.items] : []);
  const required = new Set(known.required ?? []);
  const own = Object.entries(known.properties ?? {}).map(([name, field]) => ({
    name, type: typeOf(field, api), text: field.description ?? '', required: required.has(name),
  }));
  return [...parts.flatMap((part) => fieldsOf(part, api)), ...own];
}

export function typeOf(schema, api) {
  if (!schema) return 'anything';
  if (schema.$ref) return schema.$ref.split('/').pop();
  if (schema.enum) return schema.enum.map(String).join(' | ');
  const choice = schema.oneOf ?? schema.anyOf;
  if (choice) return choice.map((one) => typeOf(one, api)).join(' or ');
  const type = [schema.type ?? 'object'].flat().join(' or ');
  return schema.type === 'array' ? `list of ${typeOf(schema.items, api)}` : schema.format ? `${type} (${schema.format})` : type;
}
