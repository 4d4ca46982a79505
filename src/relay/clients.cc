#include "relay/clients.h"

#include <algorithm>
#include <utility>

namespace weir::relay {

Clients::Clients(Waiting waiting, Changed changed, ComesOrGoes comes_or_goes)
    : waiting_(std::move(waiting)),
      changed_(std::move(changed)),
      comes_or_goes_(std::move(comes_or_goes)) {}

Clients::Guest::Guest(Clients& clients, archive::DownstreamClient who) : clients_(clients) {
  const std::lock_guard lock(clients_.mutex_);
  place_ = clients_.places_.insert(clients_.places_.end(), Place{});
  place_->member.application_name = who.application_name;
  for (const auto* const names : {&clients_.waiting_.sync, &clients_.waiting_.hold})
    if (*names && (*names)->priority_of(who.application_name)) place_->waited_for = true;
  place_->client = std::move(who);
  place_->client.backend_start = std::chrono::system_clock::now();
  if (clients_.comes_or_goes_) clients_.comes_or_goes_(place_->client, "");
}

Clients::Guest::~Guest() {
  const std::lock_guard lock(clients_.mutex_);
  if (clients_.comes_or_goes_)
    clients_.comes_or_goes_(place_->client, why_.empty() ? "it disconnected" : why_);
  clients_.places_.erase(place_);
  clients_.gather();
}

void Clients::Guest::tell(const WalsenderState::Status& status,
                          const wal::TimelineHistory& served) {
  const std::lock_guard lock(clients_.mutex_);
  const auto before = std::exchange(place_->member.status, status);
  auto& client = place_->client;
  const auto now = std::chrono::steady_clock::now();
  client.state = to_string(status.phase);
  client.timeline = status.timeline;
  client.slot = status.slot;
  client.sent = status.sent;
  client.write = status.write;
  client.flush = status.flush;
  client.replay = status.apply;
  client.xmin = status.xmins.xmin;
  if (status.timeline != before.timeline || status.sent < before.sent)
    place_->write = place_->flush = place_->replay = Lag();  // another stream
  if (status.sent > before.sent)
    for (auto* const lag : {&place_->write, &place_->flush, &place_->replay})
      lag->on_sent(status.sent, now);
  if (status.replies != before.replies) {
    client.reply_time = std::chrono::system_clock::now();
    place_->write.on_reply(status.write, now);
    place_->flush.on_reply(status.flush, now);
    place_->replay.on_reply(status.apply, now);
  }
  client.write_lag = place_->write.now();
  client.flush_lag = place_->flush.now();
  client.replay_lag = place_->replay.now();
  // A piece sent, or a reply of a client that is not waited for, does not affect the others: a
  // hundred clients may send many of them.
  const bool says_something =
      status.xmins != before.xmins ||
      (place_->waited_for && (status.replies != before.replies || status.phase != before.phase ||
                              status.timeline != before.timeline));
  if (!says_something && served == clients_.served_) return;
  clients_.served_ = served;
  clients_.gather();
}

void Clients::set_slots(std::optional<Xmins> held) {
  const std::lock_guard lock(mutex_);
  slots_ = held;
  gather();
}

bool Clients::holds_back(const std::string& application_name) const {
  return waiting_.hold && !waiting_.hold->priority_of(application_name);
}

/// Must be called under the lock.
void Clients::gather() {
  std::vector<Member> members;
  members.reserve(places_.size());
  for (const auto& place : places_) members.push_back(place.member);
  auto feedback = gather_feedback(waiting_, members, slots_, served_);
  if (told_ == feedback) return;
  told_ = feedback;
  changed_(feedback);
}

std::vector<archive::DownstreamClient> Clients::view() const {
  const std::lock_guard lock(mutex_);
  std::vector<archive::DownstreamClient> clients;
  std::vector<std::pair<std::size_t, std::size_t>> named;  // priority, place among the clients
  for (const auto& place : places_) {
    const auto priority =
        waiting_.sync ? waiting_.sync->priority_of(place.member.application_name) : std::nullopt;
    if (priority) named.emplace_back(*priority, clients.size());
    clients.push_back(place.client);
  }
  std::stable_sort(named.begin(), named.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  // As pg_stat_get_wal_senders() names them.
  std::size_t synchronous = 0;
  for (const auto& [priority, at] : named) {
    auto& client = clients[at];
    if (waiting_.sync->any())
      client.sync_state = "quorum";
    else if (client.state == "streaming" && synchronous < waiting_.sync->count())
      client.sync_state = (++synchronous, "sync");
    else
      client.sync_state = "potential";
  }
  return clients;
}

}  // namespace weir::relay
