#pragma once

#include <memory>

#include "net/stream.h"
#include "relay/walsender.h"

namespace weir::relay {

/// Serves a client over a socket until it disconnects, or the hub stops, on the calling thread.
/// Only throws exceptions other than Error.
void serve_client(std::unique_ptr<net::Stream> stream, Client client, const ServedThings& served);

}  // namespace weir::relay
