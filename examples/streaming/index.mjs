// A response that leaves as it is written:
//   hearth deploy ./examples/streaming --handler index.handler --runtime nodejs20.x --stream-url
//   curl -N URL

import { setTimeout as wait } from "node:timers/promises";

export const handler = awslambda.streamifyResponse(async (event, stream) => {
  const page = awslambda.HttpResponseStream.from(stream, {
    statusCode: 200,
    headers: { "Content-Type": "text/plain; charset=utf-8" },
  });
  for (const word of "every word leaves when it is written".split(" ")) {
    page.write(word + "\n");
    await wait(300);
  }
  page.end();
});
