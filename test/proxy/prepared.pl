#!/usr/bin/perl
# Prepared statements in the binary protocol, by a client library of others (DBD::MariaDB), and a blob
# of 20 MB there and back.
#
#   prepared.pl PORT USER
use strict;
use warnings;
use DBI;
use Digest::MD5 qw(md5_hex);

my ($port, $user) = @ARGV;
my $db = DBI->connect("dbi:MariaDB:host=127.0.0.1;port=$port;database=shop;mariadb_server_prepare=1", $user, "",
    { RaiseError => 1, PrintError => 0, mariadb_server_prepare_disable_fallback => 1 });

my $insert = $db->prepare("INSERT INTO orders (customer, cents) VALUES (?, ?)");
$insert->execute("$user-prepared", $_) for 1 .. 100;
my ($count, $sum) = $db->selectrow_array("SELECT COUNT(*), SUM(cents) FROM orders WHERE customer = ?", undef, "$user-prepared");
die "100 rows with the sum 5050 expected, got $count and $sum\n" unless $count == 100 && $sum == 5050;

my $blob = "";
$blob .= pack("N", $_ * 2654435761 % 4294967296) for 1 .. 5 * 1024 * 1024;
my $put = $db->prepare("REPLACE INTO blobs VALUES (?, ?)");
$put->bind_param(1, 2, DBI::SQL_INTEGER);
$put->bind_param(2, $blob, DBI::SQL_BLOB);
$put->execute;
$db->{LongReadLen} = length $blob;
my ($back, $md5) = $db->selectrow_array("SELECT b, MD5(b) FROM blobs WHERE id = ?", undef, 2);
die "the server stored something else\n" unless $md5 eq md5_hex($blob);
die "something else came back\n" unless $back eq $blob;

# A statement that does not prepare must say so, and harm nothing.
eval { $db->prepare("SELECT FROM WHERE")->execute; 1 } and die "nonsense was prepared\n";
die "unexpected error: $@" unless $@ =~ /SQL syntax/;
die "the connection is spoilt\n" unless $db->selectrow_array("SELECT 1") == 1;
print "ok\n";
