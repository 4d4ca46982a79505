#include "relay/rules.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "relay/auth_file.h"

namespace weir::relay {

namespace {

/// Thrown and caught in this file only.
struct Wrong {
  std::string what;
};

template <typename... Args>
[[noreturn]] void wrong(fmt::format_string<Args...> text, Args&&... args) {
  throw Wrong{fmt::format(text, std::forward<Args>(args)...)};
}

const AuthToken& only_one(const std::vector<AuthToken>& field, std::string_view what) {
  if (field.size() != 1) wrong("more than one {} specified", what);
  return field.front();
}

net::Ip address_of(const std::string& text) {
  const auto ip = net::Ip::parse(text);
  if (!ip)
    wrong(
        "invalid address \"{}\"; host names are not supported: use all, samehost, samenet, or a "
        "numeric address",
        text);
  return *ip;
}

Method method_of(const std::string& word, bool local, bool tls_only) {
  if (word == "scram-sha-256") return Method::scram;
  if (word == "reject") return Method::reject;
  if (word == "trust") return Method::trust;
  if (word == "peer" && local) return Method::peer;
  if (word == "peer") wrong("peer is only supported for connections over a Unix socket (local)");
  if (word == "cert" && tls_only) return Method::cert;
  if (word == "cert") wrong("cert is only supported for connections over TLS (hostssl)");
  if (word == "md5" || word == "password")
    wrong("the method {} is not supported; use scram-sha-256", word);
  wrong("unknown method \"{}\"; use scram-sha-256, cert, peer, trust or reject", word);
}

}  // namespace

std::string to_string(const Peer& peer) {
  return peer.address ? peer.address->to_string() : std::string("[local]");
}

Rules::Rules() {
  Rule local;
  local.local = true;
  local.method = Method::scram;
  Rule four;
  four.where = Where::network;
  four.network = {*net::Ip::parse("127.0.0.0"), net::Ip::mask(false, 8)};
  four.method = Method::scram;
  Rule six = four;
  six.network = {*net::Ip::parse("::1"), net::Ip::mask(true, 128)};
  rules_ = {local, four, six};
}

Rules Rules::parse(std::string_view content, const std::string& path) {
  Rules rules;
  rules.rules_.clear();
  for (const auto& line : read_auth_file(content)) {
    try {
      rules.rules_.push_back(read_rule(line));
    } catch (const Wrong& error) {
      throw Error(ErrorKind::usage, "the HBA file is invalid: " + error.what)
          .with("path", path)
          .with("line", line.number)
          .hint(
              "A line is as in pg_hba.conf: \"host replication USER ADDRESS scram-sha-256\", or "
              "\"local replication USER peer\".");
    }
  }
  return rules;
}

Rules::Rule Rules::read_rule(const AuthLine& line) {
  if (line.wrong) wrong("{}", *line.wrong);
  Rule rule;
  rule.line = line.number;
  std::size_t at = 0;
  const auto next = [&](std::string_view what) -> const std::vector<AuthToken>& {
    if (at == line.fields.size()) wrong("the {} is missing", what);
    return line.fields[at++];
  };

  const auto& type = only_one(next("connection type"), "connection type").text;
  rule.local = type == "local";
  rule.plain_only = type == "hostnossl";
  rule.tls_only = type == "hostssl";
  if (!rule.local && !rule.plain_only && !rule.tls_only && type != "host")
    wrong("unknown connection type \"{}\"; use local, host, hostssl or hostnossl", type);

  const auto& database = only_one(next("database"), "database");
  if (!database.is_keyword("replication"))
    wrong("the database is \"{}\"; only replication is supported", database.text);

  bool all = false;
  for (const auto& user : next("user")) {
    if (user.is_keyword("all")) all = true;
    // A pattern may be quoted (hba.c: regcomp_auth_token()).
    if (user.text.starts_with('/') ||
        (!user.quoted && (user.text.starts_with('+') || user.text.starts_with('@'))))
      wrong("the user is \"{}\"; groups, patterns and files of names are not supported", user.text);
    rule.users.push_back(user.text);
  }
  if (all) rule.users.clear();

  if (!rule.local) {
    const auto& where = only_one(next("address"), "address");
    if (where.is_keyword("all")) {
      rule.where = Where::all;
    } else if (where.is_keyword("samehost")) {
      rule.where = Where::samehost;
    } else if (where.is_keyword("samenet")) {
      rule.where = Where::samenet;
    } else {
      rule.where = Where::network;
      const auto slash = where.text.find('/');
      auto& network = rule.network;
      network.address = address_of(where.text.substr(0, slash));
      if (slash != std::string::npos) {
        const auto bits = parse_number<unsigned>(std::string_view(where.text).substr(slash + 1));
        if (!bits || *bits > network.address.bits())
          wrong("invalid network \"{}\"; the slash must be followed by the number of bits",
                where.text);
        network.mask = net::Ip::mask(network.address.v6, *bits);
      } else {
        network.mask = address_of(only_one(next("mask"), "mask").text);
        if (network.mask.v6 != network.address.v6)
          wrong(
              "the address and the mask belong to "
              "different address families");
      }
    }
  }
  rule.method = method_of(only_one(next("method"), "method").text, rule.local, rule.tls_only);
  if (at != line.fields.size())
    wrong("unexpected \"{}\" after the method", line.fields[at].front().text);
  return rule;
}

std::optional<Rules::Match> Rules::find(const Peer& peer, std::string_view user,
                                        const std::vector<net::Network>& own) const {
  const auto from_here = [&](const Rule& rule) {
    switch (rule.where) {
      case Where::all:
        return true;
      case Where::samehost:
        return std::any_of(own.begin(), own.end(),
                           [&](const auto& each) { return each.address == *peer.address; });
      case Where::samenet:
        return std::any_of(own.begin(), own.end(),
                           [&](const auto& each) { return each.contains(*peer.address); });
      case Where::network:
        return rule.network.contains(*peer.address);
    }
    return false;
  };
  for (const auto& rule : rules_) {
    if (rule.local != !peer.address) continue;
    if (peer.encrypted ? rule.plain_only : rule.tls_only) continue;
    if (peer.address && !from_here(rule)) continue;
    if (!rule.users.empty() &&
        std::find(rule.users.begin(), rule.users.end(), user) == rule.users.end())
      continue;
    return Match{rule.method, rule.line};
  }
  return std::nullopt;
}

bool Rules::needs_local_users() const {
  return std::any_of(rules_.begin(), rules_.end(),
                     [](const Rule& rule) { return rule.method == Method::peer; });
}

std::optional<std::size_t> Rules::needs_tls() const {
  for (const auto& rule : rules_)
    if (rule.tls_only) return rule.line;
  return std::nullopt;
}

std::optional<std::size_t> Rules::needs_certificates() const {
  for (const auto& rule : rules_)
    if (rule.method == Method::cert) return rule.line;
  return std::nullopt;
}

bool Rules::needs_passwords() const {
  return std::any_of(rules_.begin(), rules_.end(),
                     [](const Rule& rule) { return rule.method == Method::scram; });
}

bool Rules::needs_own_networks() const {
  return std::any_of(rules_.begin(), rules_.end(), [](const Rule& rule) {
    return rule.where == Where::samehost || rule.where == Where::samenet;
  });
}

}  // namespace weir::relay
