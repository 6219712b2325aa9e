// What node_bootstrap.js does in an import's way, for Nodes that run such hooks in a thread.
import bootstrap from "./bootstrap.js";

const { isNotFound, isOfPackage, places } = bootstrap;

export async function resolve(specifier, context, next) {
  try {
    return await next(specifier, context);
  } catch (error) {
    if (!isNotFound(error) || !isOfPackage(specifier)) {
      throw error;
    }
    for (const parentURL of places()) {
      try {
        return await next(specifier, { ...context, parentURL });
      } catch (other) {
        if (!isNotFound(other)) {
          throw other;
        }
      }
    }
    throw error;
  }
}
