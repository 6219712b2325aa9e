// What a Node.js that waits for its function runs meanwhile; see node_bootstrap.js.
exports.handler = async (event) => event;
