#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/log.h"
#include "io/shelf.h"
#include "net/stream.h"
#include "net/wake.h"
#include "relay/base_backup.h"
#include "relay/cancels.h"
#include "relay/clients.h"
#include "relay/hub.h"
#include "relay/served.h"
#include "relay/slots.h"

namespace weir::relay {

/// Somebody who was let in.
struct Client {
  std::unique_ptr<net::Stream> stream;
  std::string user;
  std::string application_name;
  std::string address;
  std::string unread;     ///< came behind the last message of the authentication
  std::string greeting;   ///< of the authentication, not sent yet
  std::uint32_t process;  ///< a number that no other session has
  std::uint32_t secret;
  std::optional<archive::ConnectionSsl> ssl;
};

/// Serves one client until it goes, or until the hub says to stop: carries WalsenderState's steps
/// out, on the thread that calls it. It waits for this client alone, and nobody waits for it.
/// Throws nothing but what is no Error. `backups`: nullptr where base backups are not to be had.
void serve_client(Client client, io::Shelf& archive, const Cluster& cluster, Hub& hub, Slots& slots,
                  Clients& clients, Cancels& cancels, BackupSource* backups, Log& log,
                  SeldomLog& trouble);

}  // namespace weir::relay
