#include "receive/connection_secrets.h"

#include <fmt/format.h>

#include <utility>

#include "base/units.h"
#include "crypto/certificates.h"
#include "receive/secret_changes.h"

namespace weir::receive {

using namespace std::chrono_literals;

void ConnectionSecrets::look() {
  if (!world_.habits.watches_secrets()) return;
  if (!look_) look_ = world_.servers.secrets(world_.options);
  if (!look_) return;
  secrets_ = look_();
  // A file that the last connection used, and that does not exist now, is missing.
  SecretChanges changes(connected_with_.value_or(secrets_));
  static_cast<void>(changes.on_look(secrets_));
  show(secrets_, changes.problem());
}

void ConnectionSecrets::on_connected(const Server& server) {
  if (!world_.habits.watches_secrets()) return;
  connected_with_ = secrets_;
  show(secrets_, {});
  if (const auto expires = server.certificate_expires()) {
    world_.board.update(
        [&](ReceiverView& content) { content.certificates.server_expires = expires; });
    tell_expiry("the certificate of " + server.name(), *expires);
  }
}

std::unique_ptr<SecretsWatch> ConnectionSecrets::watch(const Server& server,
                                                       std::function<void()> leave) {
  if (!look_) return nullptr;
  SecretsWatch::Task task{
      .machine = world_.machine,
      .look = look_,
      .used = secrets_,
      .seen = [this](const auto& look, const std::string& problem) { show(look, problem); },
      .try_out = {},
      .leave = {}};
  if (world_.options.reconnect_on_rotation) {
    task.try_out = [this, host = server.host_index()](const net::Wake& stop) {
      static_cast<void>(world_.servers.visit(
          world_.options, {.host = host, .application_name = "pgweir secrets"}, stop));
    };
    task.leave = std::move(leave);
  }
  return std::make_unique<SecretsWatch>(std::move(task), world_.log);
}

void ConnectionSecrets::show(const pq::SecretsLook& look, const std::string& problem) {
  world_.board.update([&](ReceiverView& content) {
    auto& shown = content.certificates;
    shown.client = look.certificate;
    shown.client_expires = look.expires;
    shown.problem = problem;
  });
  if (look.expires) tell_expiry("the client's certificate " + look.certificate, *look.expires);
}

void ConnectionSecrets::tell_expiry(const std::string& what, std::chrono::sys_seconds expires) {
  const auto left = expires - world_.machine.wall_clock();
  if (left > crypto::kExpiresSoon) return;
  const auto text = fmt::format("{} {} {}", what, left <= 0s ? "has expired on" : "expires on",
                                format_time(expires));
  if (told_expiries_.insert(text).second) world_.log.warning("{}", text);
}

}  // namespace weir::receive
